"""LD4MRec: C-Net, the diffusion process around it, and one-step inference."""

"""Baselines that LD4MRec is measured against, behind the same small protocol."""

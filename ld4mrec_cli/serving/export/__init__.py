"""A run's model for other systems: vectors and weights as Parquet, inference as ONNX."""

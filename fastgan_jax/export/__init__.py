"""The averaged generator for other programs: ONNX, StableHLO and safetensors."""

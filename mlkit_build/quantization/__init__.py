"""Quantization of the float `.tflite` with ai-edge-quantizer: calibrate once, quantize many, then check what came out."""

"""The `.tflite` flatbuffer: reading and writing its object form, signatures, I/O types, and a summary of what is in it."""

FLEX = "Flex"
"""What the names of Flex (Select TF) operators begin with; TensorFlow's own name follows."""

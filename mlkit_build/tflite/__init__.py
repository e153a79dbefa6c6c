"""The `.tflite` flatbuffer: reading and writing its object form, signatures, I/O types, and a summary of what is in it."""

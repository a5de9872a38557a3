"""What PyTorch has no fast way for on CPUs with AVX512-VNNI: a few functions of our own in C++."""

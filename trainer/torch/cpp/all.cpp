// One translation unit of all: each of these files alone would spend ten seconds on libtorch's headers.
#include "shim.cpp"

#include "autograd.cpp"
#include "norm.cpp"

#include "attention.cpp"
#include "stream.cpp"
#include "upsample.cpp"

"""Products with a model's matrices: dense ones, and weights of 8 or 4 bits; a matrix is kept as kernels/matrix.py says.

matrix         a weight's rows in one of its forms, and what is done with rows at loading
linear         a dense weight's products
quantised      products with weights of fewer bits
checkpoints    AWQ's and GPTQ's files
"""

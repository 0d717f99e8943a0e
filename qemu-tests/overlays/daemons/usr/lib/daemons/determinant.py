import os

import numpy

matrix = numpy.arange(9.0).reshape(3, 3) + numpy.eye(3)
print("its determinant is", round(float(numpy.linalg.det(matrix)), 3))
sum = int(numpy.dot([1, 2, 3], [4, 5, 6]))
print(f"numpy says {sum}, the token has {len(os.environ['TOKEN'])} letters", flush=True)

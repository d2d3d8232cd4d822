"""What an eye is: angles, columns, metrics, splits. NumPy and pandas alone."""

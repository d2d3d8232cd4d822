"""How numbers, figures and tables look, and what lies beside them to say where they came from."""

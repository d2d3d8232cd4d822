"""A trained model in use: photographs in; profiles, a card or ONNX out."""

"""Using a trained model: photographs in; profiles, a card, a reference band or ONNX out."""

"""The only training loop. It knows phases (networks and a loss), not generators; encoders and classifiers use it too."""

"""What the evaluate stage is made of: its material, and three questions to it. Fidelity, copying, uplift."""

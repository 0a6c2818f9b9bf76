"""The judge in the making: fresh fakes beside unseen reals, a critic, its proof, and the constants that are frozen."""

"""Prefect flows: who runs the stages, shows them and restarts them. The only importers of Prefect; they hold no science."""

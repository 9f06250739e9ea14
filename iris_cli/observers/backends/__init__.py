"""Backends: matter along rays -> spectra. Start with `backend.py`, the interface and the registry."""

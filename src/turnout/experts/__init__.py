"""Experts: arms that can be called. The HTTP client and the local model process live only here."""

"""Balancers: named losses on a routing, and the loss-free bias. One file, one class."""

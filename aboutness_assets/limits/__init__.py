"""When may a request go? The throttle, what headers say, the circuit breaker.

What limits are shared through is a Protocol here (store); database/operations fulfills it.
"""

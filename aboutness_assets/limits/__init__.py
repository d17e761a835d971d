"""When may a request be sent?

Pacing, what headers say about limits, and the circuit breaker. No HTTP and no database: what all processes
share is behind the Protocol ``LimitStore``.
"""

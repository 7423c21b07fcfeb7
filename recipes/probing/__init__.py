"""What `lab probes` measures, one module a probe.

Each has `parts(subject)` (what is measured one after the other: key -> whatever `measure` needs), `measure(subject, part)`
(the numbers of one part) and `tell(subject, numbers)` (a table and one sentence).
"""

"""Measurements of this package beside its peers: the suites of `jaxconv bench`.

| | |
|---|---|
| `cases` | layers of real networks, filters of one plane |
| `float64_answers` | the values that every contestant is checked against before it is timed |
| `contestants`, `plane_programs`, `learning`, `models` | how each peer runs a case |
| `networks` | whole networks in linen, NNX and torch: training steps and inference |
| `profiles` | where the time of such a step goes, operation by operation |
| `measure` | turns, medians, compile time, memory |
| `suites` | measures a case and returns its record |
| `tables`, `figure` | tables, summary, JSON; a figure |
| `regret` | time of the chosen method beside that of the fastest |

How to read and reproduce the tables: `README.md` beside this file.
"""

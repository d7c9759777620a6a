"""Measurements of this package beside its peers: `jaxconv bench`, and what it is made of.

| | |
|---|---|
| `cases` | what is measured: layers of real networks, filters of one plane |
| `exact` | float64 answers that nothing is timed without |
| `contestants`, `planes`, `learning`, `models` | how each peer runs a case |
| `measure` | turns, medians, compile time, memory |
| `suites` | from a case to its record |
| `report`, `figure` | table, JSON, summary, picture |
| `regret` | what the chooser's answer costs beside the best method |

How to read and reproduce the tables: `README.md` beside this file.
"""

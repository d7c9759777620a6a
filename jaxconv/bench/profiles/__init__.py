"""Where the time of a network's step goes, operation by operation, beside torch's.

| | |
|---|---|
| `traces` | JAX's trace: when each operation ran, how many ran at once |
| `operations` | what each operation of a compiled program is, from its HLO text |
| `torch_operations` | the same kinds, of torch's operators |
| `profile` | profiles a case; its record, ready for JSON |
| `printed` | the record as tables |
"""

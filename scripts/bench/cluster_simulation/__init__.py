"""A model of clusters from 10 to 10 000 GPUs, fed by measurements of this service.

`measured_up` and `decision_cost` measure, `inputs` reads what was measured, `workload` draws requests,
`fleet` simulates one fleet with simpy, `capacity` calculates where each part saturates, and `scenarios` puts
the questions. `scripts.bench.measure_cluster_inputs` and `scripts.bench.simulate_cluster` are the programs.
"""

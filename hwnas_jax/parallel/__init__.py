"""Devices, replicas and processes. No other room knows about them.

**Devices.** A step is written for one replica, and `replicas` runs it on every local device. Each
replica holds the whole state and takes its own slice of every batch. Gradients are averaged by
one all-reduce. Batch statistics are those of each replica, or of all with
`--parallel.sync-batch-statistics`; then any number of devices computes what one device computes.

**Several processes.** Start the same command in every process. Process 0 is the coordinator. The
run folder must lie on a file system that all processes share; there they also learn a secret, by
which process 0 tells them from strangers that find its port. Search and retraining run on the
devices of all processes, and each process gathers its own share of every batch. Process 0 does
the rest: profiling, fitting, measuring and writing. `parallel.devices` counts the devices of each
process, while batch sizes count over all of them.

On one machine, open two terminals (on CPU with `JAX_PLATFORMS=cpu`). The first says

    hwnas search --parallel.coordinator 127.0.0.1:1234 --parallel.processes 2 --parallel.process 0

and the second the same with `--parallel.process 1`. On Slurm start one task for each node, or, on
GPUs, one for each GPU, since JAX then gives every task one device:

    srun --nodes=4 --ntasks-per-node=1 hwnas search --parallel.distributed

On a slice of a TPU pod start this on every host, in a folder that they share, as `gcloud compute
tpus tpu-vm ssh NAME --worker=all --command="..."` does:

    hwnas search --parallel.distributed

Jobs of two processes on one machine are tested. Slurm and pods are not.

**When a process dies**, the others stop within 30 seconds. Each names the checkpoint that is safe
on disk, and exits with code 1. Ctrl-C or SIGTERM in any process stops all of them after the
compiled call that they are in, with their state saved. A stage that has nothing to save, such as
the profile, ends within five seconds.

**Resuming.** `hwnas search --resume RUN` continues from the newest checkpoint, on any number of
devices and processes, because a checkpoint holds the state once and not once for each replica. On
the same number of devices the results are the same to the last bit.

On another number the run keeps the batch statistics that it began with: on fewer devices each takes
its share of a batch in several parts, and several devices that take over from one average their
statistics. Where that cannot be, as for eight shares on three devices, the run says so. Rounding
is what still differs, and training can enlarge it: in a search of NAS-Bench-201 cells for the
digits, a change of the first weights by 3e-7 of their size moved a logit by 0.5 within 60 steps,
all on one device.

`base` says what runs step by step (an experiment), `distributed` starts and ends a job, `sockets`
ties its processes together by a `secret`, `progress` reports work and notices that a stop was asked
for, and `accumulate` splits a batch that does not fit into memory.
"""

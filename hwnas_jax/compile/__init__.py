"""Programs compiled ahead of time: what they need, what they hold, and for which chips.

**Before the first step** of a search or a training, `ahead` compiles the step and reads from the
compiler how much memory it needs on each device. A step that does not fit is refused at once, with
both figures and the settings that help: a smaller batch, micro-batches (`--search.accumulate 4`),
`--search.rematerialise`, or `--search.dtype bfloat16`, which keeps parameters, optimiser states,
statistics and losses in float32. Compiled programs are kept in the user's cache folder.

**TPU pods, checked without one.** Install the extra `tpu` (`pip install -e ".[tpu]"`), which brings
libtpu, and compile the very step that a search would run on those chips:

    hwnas search CONFIG --compile-for v5e:16x16

Any topology that libtpu knows will do (v4, v5e, v5p, v6e). The command prints the memory that a
chip needs, FLOPs per image, all-reduces per step, the cycles that the compiler estimates, and the
images per second that these would mean. This proves that the step compiles for the pod and fits
on its chips. The cycles are an estimate of the compiler, without communication, and never a
measurement. Where several hosts hold the chips the data are streamed, as in the search itself
(`data.resident`).

`topology` describes the chips, `hlo` counts what a compiled program does, and `programs` drops
compiled programs before they use up a process' memory maps.
"""

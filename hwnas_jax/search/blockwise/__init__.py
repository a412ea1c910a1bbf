"""Block-wise search: a supernet that is cut into blocks, each of which imitates a teacher's block.

A block is so small that each of its candidates can be trained and rated, and the best combination
of candidates within a budget can be found exactly. The parts, in the order in which they are used:
`teacher` (what is imitated), `training` (of the blocks, side by side), `rating` (of all candidates
of a block), `block_costs` (what candidates cost, and what the combination of blocks adds to that),
`traversal` (the best combinations, with a proof).

References: Li et al., "Block-wisely Supervised Neural Architecture Search with Knowledge
Distillation", CVPR 2020; Wang et al., "DNA Family: Boosting Weight-Sharing NAS with Block-Wise
Supervisions", 2024.
"""

BLOCKWISE = "blockwise"
"""The name of the strategy."""

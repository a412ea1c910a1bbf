"""Sources whose images or labels are not real: drawn, rendered, shuffled, or labelled by a rule.

They ask how much of what a search finds comes from real images and from their labels.

References: Dong et al., "UnrealNAS: Can We Search Neural Architectures with Unreal Data?", 2022;
Liu et al., "Are Labels Necessary for Neural Architecture Search?", ECCV 2020.
"""

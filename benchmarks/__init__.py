"""What Turnwise costs, each figure beside a floor or a peer measured in the same run.

A floor is the least that the same work can cost (the bare HTTP library, a raw socket); a peer is another program that
does the same. Contenders take turns, round after round, and a ratio is the median of the rounds' ratios: a machine
that is busy for a while is busy for both.
"""

"""How good is it: a network, or a folder of label maps, judged on a split of labelled pictures."""

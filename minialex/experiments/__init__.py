"""AlexNet's six improvements as experiments: pairs of trainings that differ in one thing, and error bars.

claims.py     what the paper claims, and which two trainings decide about it
paired.py     the mean of paired differences, its error, and the verdict
plan.py       how many images and epochs fit into a budget, and how to stop in time
runs.py       one training of a small AlexNet on images in memory
programme.py  all of it: measure the speed, plan, train on all cores, report
report.py     results.json and the table
plots.py      a picture of each experiment
gpu.py        the fifth improvement: the same training step on two devices
"""

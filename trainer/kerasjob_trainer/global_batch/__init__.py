"""What makes N replicas act as one: rows of a global batch, collectives over them, and the step that runs in each.

The rule that all of it follows, for whatever a training step computes on its own rows:

* a tensor with rows is a part of the global one: it is put together where somebody needs the whole;
* a scalar is this replica's estimate of the global scalar: the global one is the mean of all estimates, each weighted
  with its share of the rows (so a mean over rows is right as it stands, and a regularization term too);
* a gradient of a scalar with respect to variables is the gradient of that weighted mean;
* what has been put together is the same on all replicas, bit for bit, and so is all that is computed from it.

Used by the repairs, which make Keras follow the rule. Nothing here replaces a function of Keras or TensorFlow.
"""

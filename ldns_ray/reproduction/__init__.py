"""The results that the README reports, each made by one function, from dataset to table.

- `lorenz`, `reach`, `angle`, `velocity`, `speech`: one result each, out of the parts below; `results`: their names.
- `agreement`, `recovery`, `departure`, `warping`, `lengths`, `directions`: what is measured or asked for beyond the
  evaluation of any experiment.
- `maker`: trains, samples and evaluates, what is not yet done; `steps`: what is done, under the storage root.
- `recordings`: the recordings that the results are about, and how they are read; `simulations`: real trials of any length.
- `found`, `wording`, `writing`: what was found, in tables, and the files that it leaves.
- `command`: all of it, with a run in MLflow.
"""

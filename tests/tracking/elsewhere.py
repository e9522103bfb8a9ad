"""A program for a fresh process without the project: load a model by its address, sample, write the answer."""

import json
import sys

import mlflow
import torch

if __name__ == "__main__":
    address, requests, out = sys.argv[1:]
    # The threads of the process that compares: sums in another order round differently.
    torch.set_num_threads(1)
    answer = mlflow.pyfunc.load_model(address).predict(json.loads(requests))
    answer.to_json(out, orient="records", double_precision=15)
    print(sys.modules["ldns_ray"].__file__)

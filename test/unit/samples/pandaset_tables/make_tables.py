"""Write the tables of this folder: a sweep and its cuboids as PandaSet keeps them.

Run it with a pandas whose pickles are wanted, for example 2.2.3:
`python make_tables.py 2.2.3`. The tables of four pandas are kept, as their pickles differ.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

N = 40
rng = np.random.default_rng(3)
world = np.round(rng.uniform(-20, 20, (N, 3)), 3)
lidar = pd.DataFrame(
    {
        "x": world[:, 0],
        "y": world[:, 1],
        "z": world[:, 2],
        "i": np.arange(N, dtype=float),
        "t": 1557539924.5 + np.arange(N) * 0.001,
        "d": (np.arange(N) % 4 == 3).astype(int),
    }
)
lidar.index.name = "index"
cuboids = pd.DataFrame(
    {
        "uuid": ["a", "b", "c"],
        "label": ["Car", "Pedestrian", "Pickup Truck"],
        "yaw": [0.0, 1.0, 0.25],
        "stationary": [False, True, False],
        "camera_used": [0, 0, -1],
        "position.x": [1.0, 2.0, 3.0],
        "position.y": [10.0, 20.0, -5.0],
        "position.z": [0.5, 1.0, 1.5],
        "dimensions.x": [1.9, 0.6, 2.1],
        "dimensions.y": [4.5, 0.7, 5.6],
        "dimensions.z": [1.6, 1.8, 1.9],
        "attributes.object_motion": ["Moving", None, "Parked"],
        "cuboids.sibling_id": ["-", "-", "-"],
        "cuboids.sensor_id": [-1, -1, 1],
    }
)
folder = Path(__file__).parent
lidar.to_pickle(folder / f"lidar_{sys.argv[1]}.pkl.gz")
cuboids.to_pickle(folder / f"cuboids_{sys.argv[1]}.pkl.gz")

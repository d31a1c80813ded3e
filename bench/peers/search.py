"""Exact search among many vectors: ours against numpy and FAISS's flat index, in turns.

    python3 bench/peers/search.py --vectors 1000000 --rounds 3 --out results/log/search.jsonl

Ours is `target/release/examples/bench_search`. All search the same vectors, which follow a formula.
Each round runs all three one after the other; the times are those of the search alone, by the clock and
by the processor (all threads), which other programs on the machine disturb less. Needs numpy and
faiss-cpu; 1,000,000 vectors of 512 take 2 GB in each.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

BLOCK = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="a line for each round is added")
    args = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(args.threads)
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(args.threads)
    for number in range(args.rounds):
        with tempfile.NamedTemporaryFile() as file:
            load = os.getloadavg()[0]
            (ours, ours_processor, ours_memory), rows = run_ours(args, file.name)
            expected = np.frombuffer(rows, np.uint32).reshape(args.queries, args.top)
        collection = vectors(np, 0, args.vectors, args.dim)
        queries = vectors(np, args.vectors, args.queries, args.dim)
        search = lambda: numpy_search(np, queries, collection, args.top)
        by_numpy, numpy_seconds, numpy_processor = timed(search)
        index = faiss.IndexFlatIP(args.dim)
        index.add(collection)
        del collection
        (_, by_faiss), faiss_seconds, faiss_processor = timed(lambda: index.search(queries, args.top))
        line = {
            "round": number,
            "vectors": args.vectors,
            "dim": args.dim,
            "queries": args.queries,
            "top": args.top,
            "threads": args.threads,
            "moco_seconds": ours,
            "numpy_seconds": round(numpy_seconds, 4),
            "faiss_seconds": round(faiss_seconds, 4),
            "moco_processor_seconds": ours_processor,
            "numpy_processor_seconds": round(numpy_processor, 2),
            "faiss_processor_seconds": round(faiss_processor, 2),
            "moco_search_memory_mb": ours_memory,
            "load_before": round(load, 1),
            "same_as_numpy": same(expected, by_numpy),
            "same_as_faiss": same(expected, by_faiss),
            "numpy": np.__version__,
            "faiss": faiss.__version__,
        }
        print(json.dumps(line))
        if args.out:
            with args.out.open("a") as file:
                file.write(json.dumps(line) + "\n")


def timed(search):
    """What it returns, seconds by the clock, and by the processor."""
    begin, processor = time.perf_counter(), time.process_time()
    found = search()
    return found, time.perf_counter() - begin, time.process_time() - processor


def run_ours(args: argparse.Namespace, path: str) -> tuple[list[float], bytes]:
    """Seconds by the clock, by the processor, MB of the search, and the rows found."""
    program = Path(__file__).parents[2] / "target/release/examples/bench_search"
    numbers = [args.vectors, args.dim, args.queries, args.top]
    command = [program, *map(str, numbers), path]
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(number) for number in output.stdout.split()], Path(path).read_bytes()


def vectors(np, first: int, count: int, dim: int):
    """Rows of unit length, by the formula of bench_search.rs."""
    out = np.empty((count, dim), np.float32)
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        i = np.arange((first + start) * dim, (first + stop) * dim, dtype=np.uint64)
        z = (i + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = (z ^ (z >> np.uint64(31))) >> np.uint64(40)
        rows = (z.astype(np.float32) / 2**24 - np.float32(0.5)).reshape(-1, dim)
        length = np.sqrt((rows.astype(np.float64) ** 2).sum(1, keepdims=True))
        out[start:stop] = rows / length
    return out


def numpy_search(np, queries, collection, top: int):
    """The rows of the largest products, block by block, the best first."""
    best_value = np.full((len(queries), 0), -np.inf, np.float32)
    best_row = np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(collection), BLOCK):
        products = queries @ collection[start : start + BLOCK].T
        some = min(top, products.shape[1])
        part = np.argpartition(products, -some, axis=1)[:, -some:]
        values = np.concatenate([best_value, np.take_along_axis(products, part, 1)], 1)
        rows = np.concatenate([best_row, part + start], 1)
        order = np.argsort(-values, axis=1, kind="stable")[:, :top]
        best_value = np.take_along_axis(values, order, 1)
        best_row = np.take_along_axis(rows, order, 1)
    return best_row


def same(one, other) -> float:
    """Share of the rows found by the one that the other found for the same query."""
    hits = sum(len(set(map(int, a)) & set(map(int, b))) for a, b in zip(one, other))
    return hits / one.size


if __name__ == "__main__":
    main()

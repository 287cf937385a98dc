"""Exports models of scikit-learn as people do, with default options, and writes what onnxruntime makes of them.

    python3 -m venv v && v/bin/pip install scikit-learn==1.9.1 skl2onnx==1.20.0 onnxruntime==1.32.0 && v/bin/python make.py

Writes models.bin (all graphs, one behind the other) and expected.json beside this file; or into the folder given.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from skl2onnx import to_onnx
from sklearn import (
    cluster,
    compose,
    datasets,
    ensemble,
    impute,
    linear_model,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

warnings.filterwarnings("ignore")


def without_bools(make):
    """skl2onnx 1.20 hands numpy's truth values to onnx 1.23, which takes whole numbers only."""

    def made(key, value, *args, **settings):
        if isinstance(value, (list, tuple, np.ndarray)) and any(isinstance(one, (bool, np.bool_)) for one in value):
            value = [int(one) for one in value]
        return make(key, value, *args, **settings)

    return made


onnx.helper.make_attribute = without_bools(onnx.helper.make_attribute)
HERE = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent

X, y = datasets.load_iris(return_X_y=True)
X32 = X.astype(np.float32)
names = np.array(["setosa", "versicolor", "virginica"])[y]
two = (y == 1).astype(np.int64)
number = X[:, 3]
R = X32[:, :3]
holes = X32.copy()
holes[::7, 1] = np.nan
holes[::5, 2] = np.nan
rng = np.random.default_rng(1)
towns = rng.choice(["Bern", "Oslo", "Rome"], 150)
sizes = rng.choice(["S", "M", "L"], 150)
rows = [0, 25, 60, 75, 110, 149, 7]

CASES = []


def simple(name, model, X, y=None, feed=None, first=None, opset=None):
    """Fits, exports with `to_onnx(model, X[:1])` and feeds some rows."""
    model.fit(X, y) if y is not None else model.fit(X)
    feed = X if feed is None else feed
    try:
        onx = to_onnx(model, (feed if first is None else first)[:1], target_opset=opset)
    except Exception as error:
        print("skl2onnx cannot export", name, str(error)[:100].replace("\n", " "))
        return
    CASES.append((name, onx, {onx.graph.input[0].name: feed[rows]}, model))


def build():
    lr = lambda: linear_model.LogisticRegression(max_iter=300)
    simple("logistic", lr(), X32, y)
    simple("logistic_text_labels", lr(), X32, names)
    simple("logistic_two", lr(), X32, two)
    simple("logistic_double", lr(), X, y)
    simple("linear", linear_model.LinearRegression(), R, number)
    simple("linear_two_targets", linear_model.LinearRegression(), R, X[:, 2:])
    simple("ridge", linear_model.Ridge(), R, number)
    simple("ridge_classifier", linear_model.RidgeClassifier(), X32, y)
    simple("sgd", linear_model.SGDClassifier(random_state=0), X32, names)
    simple("linear_svc", svm.LinearSVC(random_state=0), X32, y)
    simple("linear_svc_two", svm.LinearSVC(random_state=0), X32, two)
    for kernel in ["rbf", "linear", "poly", "sigmoid"]:
        simple(f"svc_{kernel}", svm.SVC(kernel=kernel, random_state=0), X32, y)
        simple(f"svr_{kernel}", svm.SVR(kernel=kernel), R, number)
    simple("svc_two", svm.SVC(random_state=0), X32, two)
    simple("svc_text_labels", svm.SVC(random_state=0), X32, names)
    try:
        simple("svc_probability", svm.SVC(probability=True, random_state=0), X32, y)
        simple("svc_probability_two", svm.SVC(probability=True, random_state=0), X32, two)
        simple("nusvc_probability", svm.NuSVC(probability=True, random_state=0, nu=0.3), X32, names)
    except TypeError as e:
        print("no probability:", e)
    simple("nusvr", svm.NuSVR(), R, number)
    simple("one_class", svm.OneClassSVM(), X32)
    simple("tree_classifier", tree.DecisionTreeClassifier(random_state=0, max_depth=4), X32, y)
    simple("tree_classifier_double", tree.DecisionTreeClassifier(random_state=0, max_depth=4), X, names)
    simple("tree_regressor", tree.DecisionTreeRegressor(random_state=0, max_depth=4), R, number)
    simple("tree_two_targets", tree.DecisionTreeRegressor(random_state=0, max_depth=4), R, X[:, 2:])
    forest = dict(n_estimators=9, max_depth=5, random_state=0)
    simple("forest_classifier", ensemble.RandomForestClassifier(**forest), X32, y)
    simple("forest_two", ensemble.RandomForestClassifier(**forest), X32, two)
    simple("forest_text_labels", ensemble.RandomForestClassifier(**forest), X32, names)
    simple("forest_regressor", ensemble.RandomForestRegressor(**forest), R, number)
    simple("forest_regressor_double", ensemble.RandomForestRegressor(**forest), X[:, :3], number)
    simple("extra_classifier", ensemble.ExtraTreesClassifier(**forest), X32, y)
    simple("extra_regressor", ensemble.ExtraTreesRegressor(**forest), R, number)
    boost = dict(n_estimators=8, max_depth=2, random_state=0)
    simple("boosting_classifier", ensemble.GradientBoostingClassifier(**boost), X32, y)
    simple("boosting_two", ensemble.GradientBoostingClassifier(**boost), X32, two)
    simple("boosting_regressor", ensemble.GradientBoostingRegressor(**boost), R, number)
    hist = dict(max_iter=8, max_leaf_nodes=7, random_state=0)
    simple("hist_classifier", ensemble.HistGradientBoostingClassifier(**hist), holes, y)
    simple("hist_two", ensemble.HistGradientBoostingClassifier(**hist), holes, two)
    simple("hist_regressor", ensemble.HistGradientBoostingRegressor(**hist), holes[:, :3], number)
    simple("adaboost", ensemble.AdaBoostClassifier(n_estimators=5, random_state=0), X32, y)
    simple("adaboost_regressor", ensemble.AdaBoostRegressor(n_estimators=5, random_state=0), R, number)
    simple("bagging", ensemble.BaggingClassifier(n_estimators=4, random_state=0), X32, y)
    simple("isolation", ensemble.IsolationForest(n_estimators=6, max_samples=32, random_state=0), X32, opset={"": 18, "ai.onnx.ml": 3})
    simple("voting", ensemble.VotingClassifier([("a", lr()), ("b", naive_bayes.GaussianNB())], voting="soft", flatten_transform=False), X32, y)
    simple("stacking", ensemble.StackingClassifier([("a", lr()), ("b", naive_bayes.GaussianNB())]), X32, y)
    simple("knn_classifier", neighbors.KNeighborsClassifier(3), X32, y)
    simple("knn_regressor", neighbors.KNeighborsRegressor(3, weights="distance"), R, number)
    mlp = dict(hidden_layer_sizes=(8,), random_state=0, max_iter=300)
    simple("mlp_classifier", neural_network.MLPClassifier(**mlp), X32, y)
    simple("mlp_two", neural_network.MLPClassifier(**mlp), X32, two)
    simple("mlp_regressor", neural_network.MLPRegressor(**mlp), R, number)
    simple("gaussian_nb", naive_bayes.GaussianNB(), X32, y)
    simple("multinomial_nb", naive_bayes.MultinomialNB(), X32, names)
    simple("bernoulli_nb", naive_bayes.BernoulliNB(binarize=1.5), X32, names)
    simple("kmeans", cluster.KMeans(3, random_state=0, n_init=1), X32)
    simple("scaler", preprocessing.StandardScaler(), X32)
    simple("min_max", preprocessing.MinMaxScaler(), X32)
    simple("max_abs", preprocessing.MaxAbsScaler(), X32)
    simple("robust", preprocessing.RobustScaler(), X32)
    for norm in ["l1", "l2", "max"]:
        simple(f"normalizer_{norm}", preprocessing.Normalizer(norm), X32)
    simple("binarizer", preprocessing.Binarizer(threshold=1.5), X32)
    simple("polynomial", preprocessing.PolynomialFeatures(2), X32)
    simple("imputer", impute.SimpleImputer(), holes)
    simple("imputer_indicator", impute.SimpleImputer(strategy="median", fill_value=0), holes)
    cats = np.stack([y, two], 1).astype(np.int64)
    simple("onehot_numbers", preprocessing.OneHotEncoder(sparse_output=False), cats)
    simple("ordinal_numbers", preprocessing.OrdinalEncoder(), cats)
    words = np.stack([towns, sizes], 1).astype(object)
    strange = words.copy()
    strange[0, 0] = "Paris"
    simple("onehot_texts", preprocessing.OneHotEncoder(sparse_output=False, handle_unknown="ignore"), words, feed=strange)
    simple("ordinal_texts", preprocessing.OrdinalEncoder(), words)
    simple("label_encoder", preprocessing.LabelEncoder(), names)
    simple("discretizer", preprocessing.KBinsDiscretizer(4, encode="ordinal"), X32)
    simple("pipeline", pipeline.make_pipeline(preprocessing.StandardScaler(), lr()), X32, y)
    simple("pipeline_impute", pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.MinMaxScaler(), ensemble.RandomForestClassifier(**forest)), holes, names)
    simple("pipeline_svr", pipeline.make_pipeline(preprocessing.StandardScaler(), svm.SVR()), R, number)
    columns(lr)
    bare(lr)


def columns(lr):
    """A ColumnTransformer over named columns, each of which becomes an input of its own."""
    import pandas as pd

    frame = pd.DataFrame(
        {"age": X32[:, 0] * 10, "weight": X32[:, 1], "town": towns.astype(object), "size": sizes.astype(object)}
    )
    frame.loc[::9, "weight"] = np.nan
    prepare = compose.ColumnTransformer(
        [
            ("numbers", pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler()), ["age", "weight"]),
            ("texts", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["town", "size"]),
        ]
    )
    for name, last, target in [
        ("columns_logistic", lr(), names),
        ("columns_forest", ensemble.RandomForestClassifier(n_estimators=5, max_depth=4, random_state=0), two),
        ("columns_boosting_regressor", ensemble.GradientBoostingRegressor(n_estimators=5, random_state=0), number),
    ]:
        model = pipeline.make_pipeline(prepare, last).fit(frame, target)
        onx = to_onnx(model, frame[:1])
        feed = frame.iloc[rows]
        inputs = {}
        for value in onx.graph.input:
            column = feed[value.name].to_numpy()
            inputs[value.name] = column.reshape(-1, 1)
        CASES.append((name, onx, inputs, model))


def bare(lr):
    """Without ZipMap, as some people export."""
    for name, model, target in [
        ("bare_logistic", lr(), names),
        ("bare_forest", ensemble.RandomForestClassifier(n_estimators=5, max_depth=4, random_state=0), two),
        ("bare_mlp", neural_network.MLPClassifier((6,), random_state=0, max_iter=200), names),
    ]:
        model.fit(X32, target)
        onx = to_onnx(model, X32[:1], options={id(model): {"zipmap": False}})
        CASES.append((name, onx, {"X": X32[rows]}, model))


def plain(value):
    """A value as JSON: NaN has none, so it is a text."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {"keys": [str(k) for k in value[0]], "rows": [[float(v) for v in row.values()] for row in value]}
    value = np.asarray(value)
    if value.dtype.kind in "fc":
        flat = [float(np.float64(v)) if np.isfinite(v) else str(v) for v in value.reshape(-1)]
        if value.dtype == np.float32:
            flat = [v if isinstance(v, str) else float(f"{v:.9g}") for v in flat]
    elif value.dtype.kind in "OUS":
        flat = [str(v) for v in value.reshape(-1)]
    else:
        flat = [int(v) for v in value.reshape(-1)]
    kind = "text" if value.dtype.kind in "OUS" else str(value.dtype)
    return {"type": kind, "shape": list(value.shape), "values": flat}


def main():
    build()
    blob, listed, ops = b"", [], {}
    for name, onx, inputs, model in CASES:
        for node in onx.graph.node:
            ops.setdefault(f"{node.domain}.{node.op_type}", []).append(name)
        onx.graph.doc_string = ""
        raw = onx.SerializeToString()
        try:
            session = ort.InferenceSession(raw)
            found, by = session.run(None, inputs), "onnxruntime"
        except Exception:
            # It refuses ZipMap and classifiers of double precision, which skl2onnx makes all the same.
            feed, by = next(iter(inputs.values())), "scikit-learn"
            found = [model.predict(feed)]
            if hasattr(model, "predict_proba"):
                found.append([dict(zip(model.classes_, row)) for row in model.predict_proba(feed)])
            else:
                found = [found[0].reshape(-1, 1).astype(np.float32)]
        listed.append(
            {
                "name": name,
                "at": len(blob),
                "len": len(raw),
                "inputs": {key: plain(value) for key, value in inputs.items()},
                "outputs": {o.name: plain(v) for o, v in zip(onx.graph.output, found)},
                "by": by,
            }
        )
        blob += raw
    (HERE / "models.bin").write_bytes(blob)
    (HERE / "expected.json").write_text("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in listed) + "\n]\n")
    print(len(listed), "models,", len(blob), "bytes")
    for op, users in sorted(ops.items()):
        print(op, len(users), sorted(set(users))[:3])


main()

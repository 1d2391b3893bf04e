#!/usr/bin/env python3
"""CycloneDX 1.5 of what is linked into midge: cross/sbom.py TRIPLE… in the checkout's folder, on stdout.

Crates that only run while it is built are not in it. The same Cargo.lock gives the same bytes.
"""
import json
import re
import subprocess
import sys
import tomllib
import uuid


def cargo(command, *options):
    return subprocess.run(["cargo", command, "--locked", *options], check=True, text=True, stdout=subprocess.PIPE).stdout


def linked(triples):
    """Name and version of each crate that cargo links for one of these targets."""
    options = [option for triple in triples for option in ("--target", triple)]
    tree = cargo("tree", "--edges", "normal,no-proc-macro", "--no-dedupe", "--prefix", "none", "--format", "{p}", *options)
    return {tuple(line.split()[:2]) for line in tree.splitlines() if line}


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums):
    entry = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
        # crates of before 2018 write MIT/Apache-2.0
        "licenses": [{"expression": re.sub(r" */ *", " OR ", package["license"])}],
    }
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return entry


def bill(triples):
    names = linked(triples)
    options = [option for triple in triples for option in ("--filter-platform", triple)]
    metadata = json.loads(cargo("metadata", "--format-version", "1", *options))
    packages = {package["id"]: package for package in metadata["packages"] if (package["name"], "v" + package["version"]) in names}
    with open("Cargo.lock", "rb") as file:
        lock = file.read()
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in tomllib.loads(lock.decode())["package"]}
    root = packages[metadata["resolve"]["root"]]
    edges = {
        reference(packages[node["id"]]): sorted(
            reference(packages[dep["pkg"]])
            for dep in node["deps"]
            if dep["pkg"] in packages and any(kind["kind"] is None for kind in dep["dep_kinds"])
        )
        for node in metadata["resolve"]["nodes"]
        if node["id"] in packages
    }
    # Rust's own library is linked too, and is nobody's dependency in cargo's eyes.
    version = subprocess.run(["rustc", "--version"], check=True, text=True, stdout=subprocess.PIPE).stdout.split()[1]
    std = {"type": "library", "bom-ref": "rust-std", "name": "rust-std", "version": version, "licenses": [{"expression": "MIT OR Apache-2.0"}]}
    edges[reference(root)].append("rust-std")
    # Not a crate that crates.io has.
    application = {**component(root, checksums), "type": "application"}
    del application["purl"]
    entries = [component(package, checksums) for package in packages.values() if package is not root]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, " ".join([lock.decode(), version, *triples])).urn,
        "version": 1,
        "metadata": {"component": application},
        "components": sorted([*entries, std], key=lambda entry: entry["bom-ref"]),
        "dependencies": [{"ref": ref, "dependsOn": edges[ref]} for ref in sorted(edges)],
    }


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit("which targets? cross/sbom.py TRIPLE…")
    json.dump(bill(sys.argv[1:]), sys.stdout, indent=1)
    print()

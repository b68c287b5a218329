// Bundles the page into ../dist, which is kept in the repository so that nobody who runs the server needs Node.
// With --test: bundles the unit tests instead and runs them.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "..", "dist");
const PLAIN = ["index.html", "app.css", "favicon.svg"];

function sources() {
  return readdirSync(here).filter((name) => /\.(ts|mjs|css|html|svg|json)$/.test(name) && !/\.test\.ts$|^package-lock/.test(name)).sort();
}

/** What `tests/static/test_build.py` computes too: name, NUL, bytes, NUL of each source in order. */
function fingerprint() {
  const hash = createHash("sha256");
  for (const name of sources()) hash.update(name).update("\0").update(readFileSync(join(here, name))).update("\0");
  return hash.digest("hex");
}

async function page() {
  rmSync(dist, { recursive: true, force: true });
  await build({
    entryPoints: [join(here, "widget.ts")], outdir: dist, bundle: true, splitting: true, format: "esm", target: "es2022",
    minify: true, loader: { ".css": "text" }, chunkNames: "[name]-[hash]", legalComments: "none",
  });
  for (const name of PLAIN) cpSync(join(here, name), join(dist, name));
  writeFileSync(join(dist, "manifest.json"), `${JSON.stringify({ sources: fingerprint() })}\n`);
}

async function tests() {
  const out = mkdtempSync(join(tmpdir(), "throughline-widget-"));
  const entryPoints = readdirSync(here).filter((name) => name.endsWith(".test.ts")).map((name) => join(here, name));
  await build({ entryPoints, outdir: out, bundle: true, format: "esm", platform: "node", target: "node20", outExtension: { ".js": ".mjs" } });
  const { status } = spawnSync(process.execPath, ["--test", out], { stdio: "inherit" });
  rmSync(out, { recursive: true });
  process.exitCode = status ?? 1;
}

await (process.argv.includes("--test") ? tests() : page());

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
const MODULES = ["widget", "highlight", "math"];
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

/** Of what is bundled: their conditions ask that they travel with it. */
function licenses() {
  const { dependencies } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
  return Object.keys(dependencies).map((name) => {
    const folder = join(here, "node_modules", name);
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    return `${name}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
  }).join("\n\n");
}

/** What is imported on demand is a file of its own, so that the page itself is one file. */
const onDemand = {
  name: "on-demand",
  setup(build) {
    build.onResolve({ filter: /^\.\/\w+\.ts$/ }, ({ kind, path }) =>
      kind === "dynamic-import" ? { path: path.replace(/ts$/, "js"), external: true } : undefined);
  },
};

async function page() {
  rmSync(dist, { recursive: true, force: true });
  for (const name of MODULES) {
    await build({
      entryPoints: [join(here, `${name}.ts`)], outdir: dist, bundle: true, format: "esm", target: "es2022", minify: true,
      loader: { ".css": "text" }, legalComments: "none", plugins: [onDemand],
    });
  }
  for (const name of PLAIN) cpSync(join(here, name), join(dist, name));
  writeFileSync(join(dist, "licenses.txt"), licenses());
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

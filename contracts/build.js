// Compiles the contracts of this folder with solc-js and writes ABI and bytecode as JSON, to stdout or into a folder.
//
//   node contracts/build.js [FOLDER]     solc: the package in ATTESTRIO_SOLC, else of node_modules
"use strict";
const fs = require("fs");
const path = require("path");

const solc = require(process.env.ATTESTRIO_SOLC || require.resolve("solc", { paths: [path.dirname(__dirname)] }));

const SETTINGS = {
  evmVersion: "paris",
  optimizer: { enabled: true, runs: 200 },
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
};

for (const name of ["Diamond", "RollupManager", "ServiceManager"]) {
  const file = `${name}.sol`;
  const input = {
    language: "Solidity",
    sources: { [file]: { content: fs.readFileSync(path.join(__dirname, file), "utf8") } },
    settings: SETTINGS,
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  for (const said of output.errors || []) {
    process.stderr.write(said.formattedMessage);
    process.exitCode = 1; // a warning too
  }
  if (process.exitCode) break;
  const made = output.contracts[file][name];
  const text = JSON.stringify({ contract: name, compiler: solc.version().split(".Emscripten")[0], abi: made.abi,
    bytecode: "0x" + made.evm.bytecode.object }, null, 1) + "\n";
  if (process.argv[2]) fs.writeFileSync(path.join(process.argv[2], `${name}.json`), text);
  else process.stdout.write(text);
}

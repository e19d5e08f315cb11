// Verifies state proofs with @confio/ics23 under TendermintSpec: node verify_ics23.mjs FILE... prints one JSON line per file.
// A file is an answer of the RPC method state_proof: {key_hash | tree_key, value, state_root, proof}.
import {readFileSync} from 'node:fs';
import {ics23, tendermintSpec, verifyMembership, verifyNonMembership} from '@confio/ics23';

const bytes = hex => Uint8Array.from(Buffer.from(hex, 'hex'));
const enums = {hash: ics23.HashOp, prehash_key: ics23.HashOp, prehash_value: ics23.HashOp, length: ics23.LengthOp};

const operation = step =>
  Object.fromEntries(
    Object.entries(step).map(([name, value]) => [
      name.replace(/_(.)/g, (_, letter) => letter.toUpperCase()),
      name in enums ? enums[name][value] : bytes(value),
    ]),
  );
const exist = proof =>
  proof && {
    key: bytes(proof.key),
    value: bytes(proof.value),
    leaf: operation(proof.leaf),
    path: proof.path.map(operation),
  };

for (const file of process.argv.slice(2)) {
  const {value, state_root: root, proof} = JSON.parse(readFileSync(file, 'utf8'));
  let ok;
  try {
    if (proof.exist) {
      const commitment = ics23.CommitmentProof.create({exist: exist(proof.exist)});
      ok = verifyMembership(commitment, tendermintSpec, bytes(root), bytes(proof.exist.key), bytes(value));
    } else {
      const nonexist = {key: bytes(proof.nonexist.key), left: exist(proof.nonexist.left), right: exist(proof.nonexist.right)};
      const commitment = ics23.CommitmentProof.create({nonexist});
      ok = verifyNonMembership(commitment, tendermintSpec, bytes(root), bytes(proof.nonexist.key));
    }
  } catch (error) {
    ok = false;
  }
  console.log(JSON.stringify({verified: ok, kind: proof.exist ? 'exist' : 'nonexist'}));
}

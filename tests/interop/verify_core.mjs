// Verifies Open Badges documents as wallets do, with @digitalcredentials/verifier-core; nothing is fetched.
// node verify_core.mjs FILE... prints one JSON line per file: the log of named checks.
import {readFileSync} from 'node:fs';

globalThis.fetch = async url => {
  throw new Error(`offline: ${url}`);
};
const {verifyCredential} = await import('@digitalcredentials/verifier-core');

for (const file of process.argv.slice(2)) {
  const credential = JSON.parse(readFileSync(file, 'utf8'));
  const result = await verifyCredential({credential, knownDIDRegistries: []});
  const checks = Object.fromEntries((result.log ?? []).map(check => [check.id, check.valid ?? false]));
  console.log(JSON.stringify({checks, errors: (result.errors ?? []).map(error => String(error.message ?? error))}));
}

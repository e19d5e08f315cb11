// Verifies Open Badges documents with @digitalbazaar/vc: node verify_digitalbazaar.mjs FILE... prints one JSON line per file.
// The status check is left to the caller: this library only asks that there is one.
import {readFileSync} from 'node:fs';
import * as vc from '@digitalbazaar/vc';
import {DataIntegrityProof} from '@digitalbazaar/data-integrity';
import {cryptosuite} from '@digitalbazaar/eddsa-rdfc-2022-cryptosuite';
import {securityLoader} from '@digitalcredentials/security-document-loader';

const documentLoader = securityLoader({fetchRemoteContexts: false}).build();

for (const file of process.argv.slice(2)) {
  const credential = JSON.parse(readFileSync(file, 'utf8'));
  const result = await vc.verifyCredential({
    credential,
    suite: new DataIntegrityProof({cryptosuite}),
    documentLoader,
    checkStatus: async () => ({verified: true}),
  });
  const errors = (result.error?.errors ?? (result.error ? [result.error] : [])).map(error => String(error.message));
  console.log(JSON.stringify({verified: result.verified, errors}));
}

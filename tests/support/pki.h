/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates for tests: an authority's, and such as it would not sign. */
#ifndef TS_PKI_H
#define TS_PKI_H

/* Makes a folder under TMPDIR, which is removed when the process exits, and writes into it, as PEM:
 *   ca.pem                        an authority
 *   one.pem, one.key; two.pem...  its certificates and their keys
 *   other.pem, other.key          of another authority, other-ca.pem
 *   late.pem, late.key            expired
 *   server.pem, server.key        for servers alone
 *   locked.key                    one.key behind a password
 * Returns its path; aborts when something fails. */
const char *ts_pki(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of objects. A name is UTF-8 and consists of components that '/' separates, 128 at most;
 * none of them is empty, "." or "..". So joining it to a directory never leaves that directory,
 * symbolic links aside.
 */
#ifndef CLI_NAME_H
#define CLI_NAME_H

#include <stddef.h>

#define CLI_NAME_SIZE 4096         /* with the final NUL */
#define CLI_NAME_COMPONENT_MAX 255 /* bytes */
#define CLI_NAME_DEPTH_MAX 128     /* components */

/* NULL when the length bytes at name are the name of an object, else what is wrong with them, to
 * follow "the name of the object ". */
const char *cli_name_check(const char *name, size_t length);

/* Decodes one level of percent-encoding and checks the result. NULL: name holds it. Else what is
 * wrong with it, as above. */
const char *cli_name_decode(const char *encoded, size_t length, char name[CLI_NAME_SIZE]);

/* As above, but only decodes: the result is UTF-8 without NUL. */
const char *cli_name_unescape(const char *encoded, size_t length, char name[CLI_NAME_SIZE]);

/* Encodes a name for a URL's path; '/' stays. To be freed; NULL: out of memory. */
char *cli_name_encode(const char *name);

/* The part after the last '/'. */
const char *cli_base_name(const char *name);

#endif

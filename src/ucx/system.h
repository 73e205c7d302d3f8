/* SPDX-License-Identifier: Apache-2.0 */
/* Where the dynamic linker would find a library that this one needs. */
#ifndef RW_UCX_SYSTEM_H
#define RW_UCX_SYSTEM_H

#include <stdbool.h>

/* Gives take() the path of each file of this name in LD_LIBRARY_PATH, in the folders that this
 * library was linked to look in, in the linker's cache and in the system's folders, in this order;
 * one may come twice. Ends when take() returns false. They are gone through here, rather than by
 * dlopen(), because the first may not do; and dlopen() asks on behalf of its caller, which is
 * another one where a sanitizer stands between. */
typedef bool (*rw_ucx_path_fn)(const char *path, void *argument);
void rw_ucx_search_system(const char *name, rw_ucx_path_fn take, void *argument);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Frames out and in by UCX's active messages. */
#include "link/ucx_am.h"

#include "base/assert.h"
#include "base/error.h"
#include "ucx/ucx.h"

/* UCX active message ids. Bytes for device memory use one of their own, for which UCX keeps eager
 * data until we have unpacked it with ucp_am_recv_data_nbx(). */
enum { AM_HOST = 1, AM_DEVICE = 2 };

/* ---- out ---- */

static void return_flight(rw_flight_t *flight, ucs_status_t status) RW_LOCKED {
    flight->done(flight, status == UCS_OK ? ROPEWAY_OK : ROPEWAY_ERR_PEER_LOST,
                 rw_ucx_reason(status));
}

static void on_am_sent(void *request, ucs_status_t status, void *argument) RW_UNCHECKED {
    ucp_request_free(request);
    return_flight(argument, status);
}

ropeway_error_t rw_am_send(ucp_ep_h endpoint, rw_flight_t *flight) {
    ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                        UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_MEMORY_TYPE,
        .flags = (flight->lends ? UCP_AM_SEND_FLAG_RNDV : UCP_AM_SEND_FLAG_EAGER) |
                 (flight->introduces ? UCP_AM_SEND_FLAG_REPLY : 0),
        .memory_type = rw_ucx_memory_type(flight->device),
        .cb.send = on_am_sent,
        .user_data = flight};
    ucs_status_ptr_t request;

    rw_assert(flight->count <= 1);
    if (flight->registration != NULL) {
        param.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMH;
        param.memh = flight->registration;
    }
    request =
        ucp_am_send_nbx(endpoint, flight->to_device ? AM_DEVICE : AM_HOST, flight->header,
                        flight->header_length, flight->pieces[0].iov_base, flight->length, &param);
    if (UCS_PTR_IS_ERR(request)) {
        return rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX can't send: %s",
                       ucs_status_string(UCS_PTR_STATUS(request)));
    }
    if (request == NULL) {
        return_flight(flight, UCS_OK);
    }
    return ROPEWAY_OK;
}

/* ---- in ---- */

static void on_placed(void *request, ucs_status_t status, size_t length,
                      void *argument) RW_UNCHECKED {
    (void)length;
    ucp_request_free(request);
    return_flight(argument, status);
}

/* Lets UCX put the bytes where they belong. */
static void place_bytes(const rw_am_receiver_t *receiver, void *data,
                        rw_flight_t *flight) RW_LOCKED {
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK |
                                                 UCP_OP_ATTR_FIELD_USER_DATA |
                                                 UCP_OP_ATTR_FIELD_MEMORY_TYPE,
                                 .memory_type = rw_ucx_memory_type(flight->device),
                                 .cb.recv_am = on_placed,
                                 .user_data = flight};
    ucs_status_ptr_t request;

    rw_assert(flight->count == 1);
    if (flight->registration != NULL) {
        param.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMH;
        param.memh = flight->registration;
    }
    request = ucp_am_recv_data_nbx(receiver->worker, data, flight->pieces[0].iov_base,
                                   flight->length, &param);
    if (!UCS_PTR_IS_PTR(request)) {
        return_flight(flight, UCS_PTR_STATUS(request));
    }
}

static ucs_status_t on_message(void *argument, const void *header, size_t header_length, void *data,
                               size_t length, const ucp_am_recv_param_t *param) RW_UNCHECKED {
    rw_am_receiver_t *receiver = argument;
    ropeway_connector_t *connector = receiver->connector;
    bool lent = (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
    rw_frame_t frame = {.kind = receiver->kind,
                        .header = header,
                        .header_length = header_length,
                        .payload = lent ? NULL : data,
                        .length = length,
                        .lent = lent,
                        .for_device = (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_DATA) != 0,
                        .reply = (param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) != 0
                                     ? param->reply_ep
                                     : NULL};

    if (connector->links->user->on_frame(connector, &frame) == RW_FRAME_TAKEN) {
        return UCS_OK;
    }
    if (lent && rw_ucx_port_make_fillable(receiver->port, frame.place) != ROPEWAY_OK) {
        frame.place->done(frame.place, ROPEWAY_ERR_NO_MEMORY, "out of memory");
        return UCS_OK; /* UCX tells the sender that nobody wants the bytes */
    }
    place_bytes(receiver, data, frame.place);
    return UCS_INPROGRESS;
}

ropeway_error_t rw_am_listen(rw_am_receiver_t *receiver) {
    static const struct {
        unsigned id;
        uint32_t flags;
    } handlers[] = {{AM_HOST, UCP_AM_FLAG_WHOLE_MSG},
                    {AM_DEVICE, UCP_AM_FLAG_WHOLE_MSG | UCP_AM_FLAG_PERSISTENT_DATA}};

    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        ucp_am_handler_param_t param = {
            .field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                          UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG,
            .id = handlers[i].id,
            .flags = handlers[i].flags,
            .cb = on_message,
            .arg = receiver};
        ucs_status_t status = ucp_worker_set_am_recv_handler(receiver->worker, &param);

        if (status != UCS_OK) {
            return rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX takes no message handler: %s",
                           ucs_status_string(status));
        }
    }
    return ROPEWAY_OK;
}

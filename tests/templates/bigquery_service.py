"""A BigQuery on the loopback interface with one table, read by the Storage API as rows of Avro."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import fastavro
import grpc
from google.cloud import bigquery_storage

from tests.integration.aws_standins import Request, serve


@dataclass
class FakeBigQuery:
    """One table, in two streams.

    Attributes:
        schema: Of Avro, as BigQuery would make it.
        rows: The rows.
        sessions: The read sessions that were asked for.
    """

    schema: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    sessions: list[Any] = field(default_factory=list)

    def about_table(self, request: Request) -> tuple[int, str]:
        """What the REST service tells of the table."""
        reference = {"projectId": "p-demo", "datasetId": "d", "tableId": "t"}
        return 200, json.dumps({"tableReference": reference, "numBytes": "100", "location": "US"})

    def create_read_session(self, request: Any, _: Any) -> Any:
        self.sessions.append(request.read_session)
        return bigquery_storage.ReadSession(
            name="session",
            avro_schema={"schema": json.dumps(self.schema)},
            data_format=bigquery_storage.DataFormat.AVRO,
            streams=[{"name": "0"}, {"name": "1"}],
        )

    def read_rows(self, request: Any, _: Any) -> Iterator[Any]:
        rows = self.rows[int(request.read_stream) :: 2][request.offset :]
        parsed = fastavro.parse_schema(dict(self.schema))
        for row in rows:
            buffer = io.BytesIO()
            fastavro.schemaless_writer(buffer, parsed, row)
            yield bigquery_storage.ReadRowsResponse(
                avro_rows={"serialized_binary_rows": buffer.getvalue()},
                avro_schema={"schema": json.dumps(self.schema)},
                row_count=1,
            )


@contextlib.contextmanager
def serve_bigquery(service: FakeBigQuery) -> Iterator[tuple[str, Any]]:
    """Yields the URL of the REST service, and a function that makes clients of the Storage API."""

    class Handlers(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            name = details.method.rpartition("/")[2]
            request = getattr(bigquery_storage, f"{name}Request").deserialize
            if name == "CreateReadSession":
                return grpc.unary_unary_rpc_method_handler(
                    service.create_read_session, request, bigquery_storage.ReadSession.serialize
                )
            return grpc.unary_stream_rpc_method_handler(
                service.read_rows, request, bigquery_storage.ReadRowsResponse.serialize
            )

    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([Handlers()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client_class = bigquery_storage.BigQueryReadClient
    transport = client_class.get_transport_class("grpc")

    def client() -> Any:
        return client_class(transport=transport(channel=channel))

    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    try:
        with serve(service.about_table) as url:
            yield f"{url}/bigquery/v2/", client
    finally:
        channel.close()
        server.stop(None).wait(5)
